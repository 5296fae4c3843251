/** Everything English needs, loaded as one chunk. */
import { dateEnUS, enUS } from 'naive-ui'
import logs from './logs.en'
import nodes from './nodes.en'
import online from './online.en'
import people from './people.en'
import shell from './shell.en'

export const messages = { ...shell, ...online, ...nodes, ...logs, ...people }
export const naive = enUS
export const dates = dateEnUS
