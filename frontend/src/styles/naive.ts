/**
 * Naive UI in our colours. Where it differs from Naive's defaults without need, the reason is contrast: WCAG AA wants
 * 4.5 : 1 for text, and Naive's light tags and placeholders have less.
 */
import type { GlobalThemeOverrides } from 'naive-ui'

const sans = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Hiragino Sans GB', 'Microsoft YaHei', 'Noto Sans CJK SC', 'Noto Sans SC', sans-serif"
const mono = "ui-monospace, 'SF Mono', SFMono-Regular, Menlo, Consolas, 'Liberation Mono', 'Noto Sans Mono', monospace"

const shared = { fontFamily: sans, fontFamilyMono: mono, borderRadius: '8px', borderRadiusSmall: '6px', fontWeightStrong: '600' }

/** One hue in its four states; `suppl` is what Naive mixes into shadows. */
const hue = <N extends string>(name: N, base: string, hover: string, pressed: string) =>
  ({
    [`${name}Color`]: base,
    [`${name}ColorHover`]: hover,
    [`${name}ColorPressed`]: pressed,
    [`${name}ColorSuppl`]: hover,
  }) as Record<`${N}Color${'' | 'Hover' | 'Pressed' | 'Suppl'}`, string>

export const light: GlobalThemeOverrides = {
  common: {
    ...shared,
    ...hue('primary', '#3451d1', '#2a45bd', '#2239a3'),
    ...hue('success', '#0b7a53', '#096a48', '#075a3d'),
    ...hue('warning', '#9a5b00', '#854f00', '#704200'),
    ...hue('error', '#c4241a', '#ab1e15', '#921911'),
    ...hue('info', '#1d5fd1', '#1852b8', '#14469e'),
    textColorBase: '#171b24',
    textColor1: '#171b24',
    textColor2: '#2b3240',
    textColor3: '#566073',
    placeholderColor: '#6b7280',
    placeholderColorDisabled: '#8a919d',
    iconColor: '#566073',
    closeIconColor: '#566073',
    borderColor: '#d5dae3',
    dividerColor: '#e3e7ee',
    bodyColor: '#f5f6f9',
  },
  Tag: {
    textColorSuccess: '#0b6b49', colorSuccess: '#e3f4eb', borderSuccess: '1px solid #b9e0cd',
    textColorWarning: '#8a5200', colorWarning: '#fdf0dc', borderWarning: '1px solid #f0d7ac',
    textColorError: '#b42318', colorError: '#fde7e5', borderError: '1px solid #f5c4c0',
    textColorInfo: '#1849a9', colorInfo: '#e3edfd', borderInfo: '1px solid #bdd3f7',
  },
}

const darkBorder = '1px solid #333b49'

export const dark: GlobalThemeOverrides = {
  // Naive's dark fields have no border, and stand out too little from a card.
  Input: { border: darkBorder },
  Select: { peers: { InternalSelection: { border: darkBorder } } },
  common: {
    ...shared,
    ...hue('primary', '#8ba4ff', '#a2b6ff', '#7590f5'),
    ...hue('success', '#3ecf96', '#5fdcab', '#2fb984'),
    ...hue('warning', '#f0b45a', '#f3c077', '#dba047'),
    ...hue('error', '#ff8178', '#ff9c95', '#ef6c63'),
    ...hue('info', '#7fb0ff', '#9dc2ff', '#6a9df0'),
    bodyColor: '#0e1117',
    cardColor: '#161a22',
    modalColor: '#1a1f28',
    popoverColor: '#1e232d',
    tableColor: '#161a22',
    inputColor: '#1b202a',
    textColor1: '#e8ebf1',
    textColor2: '#d3d8e1',
    textColor3: '#a3acbb',
    placeholderColor: '#929bab',
    borderColor: '#333b49',
    dividerColor: '#29303c',
  },
  Tag: {
    textColorSuccess: '#5fdcab', colorSuccess: '#143528', borderSuccess: '1px solid #1f5440',
    textColorWarning: '#f3c077', colorWarning: '#3a2a12', borderWarning: '1px solid #5b431e',
    textColorError: '#ff9c95', colorError: '#431c1a', borderError: '1px solid #6a2d2a',
    textColorInfo: '#9dc2ff', colorInfo: '#1a2c4d', borderInfo: '1px solid #2a4576',
  },
}
