import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { installElement } from './element'
import { i18n } from './i18n'
import { router } from './router'
import './theme.css'

const app = createApp(App)
app.use(createPinia()).use(i18n).use(router)
installElement(app)
app.mount('#app')

// After an upgrade the page names files that are gone: once, the new page is loaded instead.
window.addEventListener('vite:preloadError', (event) => {
  const key = 'knm.reloaded'
  try {
    const last = Number(sessionStorage.getItem(key))
    if (Date.now() - last < 60_000) return
    sessionStorage.setItem(key, String(Date.now()))
  } catch {
    return
  }
  event.preventDefault()
  location.reload()
})
