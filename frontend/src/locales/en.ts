/** Everything English needs, loaded as one chunk. */
import { dateEnUS, enUS } from 'naive-ui'
import nodes from './nodes.en'
import online from './online.en'
import shell from './shell.en'

export const messages = { ...shell, ...online, ...nodes }
export const naive = enUS
export const dates = dateEnUS
