// Why somebody counts as online, in one sentence of the page's language; the server's own sentence is English.
import type { Why } from '@/api/types'
import { ago } from './relative'

type Translate = (key: string, named?: Record<string, unknown>, plural?: number) => string

/** `now` in Unix seconds. */
export function whySentence(why: Why, t: Translate, locale: string, now: number): string {
  if (why.leaving) return t('online.why.leaving') + t('online.why.end')
  if (!why.online || !why.clients.length) return t('online.why.offline') + t('online.why.end')
  const n = why.clients.length
  // The liveliest of the user's clients is the evidence; one is enough to be online.
  const best = why.clients.reduce((a, b) => (Date.parse(b.lastFrameAt) > Date.parse(a.lastFrameAt) ? b : a))
  const since = (at: string) => ago(now - Date.parse(at) / 1_000, locale)
  const queued = why.clients.reduce((sum, client) => sum + client.queueMessages, 0)
  const parts = [t('online.why.online', { clients: t('online.clients', { n }, n), frame: since(best.lastFrameAt) })]
  if (best.lastPongAt) parts.push(t('online.why.pong', { pong: since(best.lastPongAt) }))
  if (typeof best.rttMs === 'number') parts.push(t('online.why.rtt', { ms: best.rttMs }))
  parts.push(queued ? t('online.why.queue', { n: queued }, queued) : t('online.why.noQueue'))
  return parts.join(t('online.why.separator')) + t('online.why.end')
}
