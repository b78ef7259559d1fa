import { createRouter, createWebHistory } from 'vue-router'

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', redirect: (to) => ({ path: '/nodes', query: to.query }) },
    { path: '/nodes', name: 'nodes', component: () => import('@/pages/NodesPage.vue') },
    { path: '/tasks', name: 'tasks', component: () => import('@/pages/TasksPage.vue') },
    { path: '/tasks/:id', name: 'task', component: () => import('@/pages/TaskPage.vue'), props: true },
    { path: '/account', name: 'account', component: () => import('@/pages/AccountPage.vue') },
    { path: '/:rest(.*)*', redirect: '/nodes' },
  ],
})
