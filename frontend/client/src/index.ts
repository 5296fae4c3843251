/**
 * The socket client of Rollcall: typed events, calls as promises, and the reconnect policy of the protocol.
 * Deliberately absent: other transports, queues of unsent messages, sharing one socket between tabs.
 */
export { createClient } from './client.js'
export { type CallOptions, RtError } from './calls.js'
export { CloseCode, isFinal } from './protocol.js'
export type { CloseInfo, Connected, CoreCalls, CorePushes, Frame } from './protocol.js'
export type { Subscription } from './standing.js'
export type { Attempt, Client, LocalEvents, Options, State } from './types.js'
