/** Names for the shapes of the REST API, taken from the generated schema by path so that a renamed schema breaks nothing. */
import type { paths } from './schema'

type Method = 'get' | 'post' | 'patch' | 'delete'
type Content<C> = C extends { content: infer M } ? M[keyof M] : never
type Answer<P extends keyof paths, M extends Method> = paths[P][M] extends { responses: { 200: infer R } } ? Content<R> : never
type Sent<P extends keyof paths, M extends Method> = paths[P][M] extends { requestBody?: infer B } ? Content<NonNullable<B>> : never
type Query<P extends keyof paths, M extends Method> = paths[P][M] extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never

export type Tokens = Answer<'/auth/login', 'post'>
export type Me = Answer<'/auth/me', 'get'>
export type User = Me['user']
export type SessionPage = Answer<'/sessions', 'get'>
export type Session = SessionPage['list'][number]

export type ClientPage = Answer<'/online/clients', 'get'>
export type ClientQuery = Query<'/online/clients', 'get'>
/** One row of the online list: a connected client. */
export type OnlineClient = ClientPage['list'][number]
export type UserPage = Answer<'/online/users', 'get'>
export type UserQuery = Query<'/online/users', 'get'>
export type OnlineUser = UserPage['list'][number]
export type Counts = Answer<'/online/counts', 'get'>
export type UserPresence = Answer<'/online/users/{id}', 'get'>
export type Why = Answer<'/online/users/{id}/why', 'get'>
export type KickRequest = Sent<'/online/kick', 'post'>
export type KickFilter = NonNullable<KickRequest['filter']>
export type KickResult = Answer<'/online/kick', 'post'>
export type Kick = Answer<'/online/kicks/{id}', 'get'>
export type LoginEntry = Answer<'/logs/logins', 'get'>['list'][number]
export type AuditLogEntry = Answer<'/logs/audit', 'get'>['list'][number]
export type Node = Answer<'/nodes', 'get'>['list'][number]
export type NodeDrain = Answer<'/nodes/{name}/drain', 'post'>
export type Account = Answer<'/users', 'get'>['list'][number]
export type AccountQuery = Query<'/users', 'get'>
export type NewAccount = Sent<'/users', 'post'>
export type AccountChange = Sent<'/users/{id}', 'patch'>
export type Imported = Answer<'/users/import', 'post'>
export type Role = Answer<'/roles', 'get'>['list'][number]
export type Word = Answer<'/permissions', 'get'>['list'][number]
export type SessionQuery = Query<'/sessions', 'get'>
export type ApiKey = Answer<'/api-keys', 'get'>['list'][number]
export type NewApiKey = Sent<'/api-keys', 'post'>
export type PushRequest = Sent<'/push', 'post'>
export type PushResult = Answer<'/push', 'post'>
