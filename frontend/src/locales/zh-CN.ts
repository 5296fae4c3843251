/** Everything zh-CN needs, loaded as one chunk. This language is the master: the others have its keys. */
import { dateZhCN, zhCN } from 'naive-ui'
import logs from './logs.zh-CN'
import nodes from './nodes.zh-CN'
import online from './online.zh-CN'
import people from './people.zh-CN'
import shell from './shell.zh-CN'

export const messages = { ...shell, ...online, ...nodes, ...logs, ...people }
export const naive = zhCN
export const dates = dateZhCN
