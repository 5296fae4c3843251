/** Everything English needs, loaded as one chunk. */
import { dateEnUS, enUS } from 'naive-ui'
import online from './online.en'
import shell from './shell.en'

export const messages = { ...shell, ...online }
export const naive = enUS
export const dates = dateEnUS
