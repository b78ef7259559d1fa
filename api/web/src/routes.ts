import type { RouteRecordRaw } from 'vue-router'

/** Every page. The api gives out the page for each of these paths: `PAGES` in api/src/routes/ui.rs. */
export const routes: RouteRecordRaw[] = [
  { path: '/', redirect: (to) => ({ path: '/nodes', query: to.query }) },
  { path: '/nodes', name: 'nodes', component: () => import('@/pages/NodesPage.vue') },
  { path: '/tasks', name: 'tasks', component: () => import('@/pages/TasksPage.vue') },
  { path: '/tasks/:id', name: 'task', component: () => import('@/pages/TaskPage.vue'), props: true },
  { path: '/clusters', name: 'clusters', component: () => import('@/pages/ClustersPage.vue') },
  { path: '/users', name: 'users', component: () => import('@/pages/UsersPage.vue') },
  { path: '/audit', name: 'audit', component: () => import('@/pages/AuditPage.vue') },
  { path: '/account', name: 'account', component: () => import('@/pages/AccountPage.vue') },
  { path: '/:rest(.*)*', redirect: '/nodes' },
]
