/** Everything English needs, loaded as one chunk. */
import { dateEnUS, enUS } from 'naive-ui'
import logs from './logs.en'
import nodes from './nodes.en'
import online from './online.en'
import shell from './shell.en'

export const messages = { ...shell, ...online, ...nodes, ...logs }
export const naive = enUS
export const dates = dateEnUS
