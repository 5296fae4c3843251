import { nextTick } from 'vue'
import { createRouter, createWebHistory, type RouteLocationNormalized } from 'vue-router'
import AppShell from './layouts/AppShell.vue'
import { useSessionStore } from './stores/session'

declare module 'vue-router' {
  interface RouteMeta {
    /** The key of the page's title. */
    title?: string
    /** For everybody, logged in or not. */
    open?: boolean
    /** The permission without which the page is not shown. */
    permission?: string
  }
}

// The base path is the one of <base href>, which the server writes.
export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/login', name: 'login', component: () => import('./pages/login/LoginPage.vue'), meta: { open: true, title: 'login.title' } },
    {
      path: '/unreachable',
      name: 'unreachable',
      component: () => import('./pages/error/UnreachablePage.vue'),
      meta: { open: true, title: 'error.unreachable' },
    },
    {
      path: '/',
      component: AppShell,
      children: [
        // Never shown: the guard below leads on, once it knows who comes.
        { path: '', name: 'home', component: { render: () => null } },
        { path: 'online', name: 'online', component: () => import('@/pages/online/OnlinePage.vue'), meta: { title: 'online.title', permission: 'online:read' } },
        { path: 'nodes', name: 'nodes', component: () => import('@/pages/nodes/NodesPage.vue'), meta: { title: 'nodes.title', permission: 'monitor:read' } },
        { path: 'logs', name: 'logs', component: () => import('@/pages/logs/LogsPage.vue'), meta: { title: 'logs.title', permission: 'audit:read' } },
        { path: 'users', name: 'users', component: () => import('@/pages/users/UsersPage.vue'), meta: { title: 'users.title', permission: 'user:read' } },
        { path: 'roles', name: 'roles', component: () => import('@/pages/roles/RolesPage.vue'), meta: { title: 'roles.title', permission: 'role:write' } },
        { path: 'sessions', name: 'sessions', component: () => import('@/pages/sessions/SessionsPage.vue'), meta: { title: 'sessions.title', permission: 'session:write' } },
        { path: 'keys', name: 'keys', component: () => import('@/pages/keys/KeysPage.vue'), meta: { title: 'keys.title', permission: 'key:write' } },
        { path: 'account', name: 'account', component: () => import('./pages/account/AccountPage.vue'), meta: { title: 'account.title' } },
        { path: ':path(.*)*', name: 'not-found', component: () => import('./pages/error/NotFoundPage.vue'), meta: { title: 'error.notFound' } },
      ],
    },
  ],
})

/** Where a login returns to: a path of this page, never another site's address. */
export function nextPath(to: RouteLocationNormalized): string {
  const next = String(to.query.next ?? '')
  return /^\/(?![/\\])/.test(next) ? next : '/'
}

router.beforeEach(async (to) => {
  if (to.name === 'unreachable') return true
  try {
    const session = useSessionStore()
    const loggedIn = await session.restore()
    if (session.needsPassword && to.name !== 'account') return '/account'
    if (loggedIn && to.name === 'home') return session.can('online:read') ? '/online' : '/account'
    if (to.name === 'login') return loggedIn ? nextPath(to) : true
    if (loggedIn || to.meta.open) return true
  } catch {
    return { name: 'unreachable', query: { next: to.fullPath } }
  }
  return { name: 'login', query: to.fullPath === '/' ? {} : { next: to.fullPath } }
})

// A screen reader hears of the new page; a changed filter in the query is no new page.
router.afterEach(async (to, from) => {
  if (to.path === from.path || !from.matched.length) return
  await nextTick()
  document.querySelector<HTMLElement>('main')?.focus({ preventScroll: true })
})
