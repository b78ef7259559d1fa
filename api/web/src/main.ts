import { createPinia } from 'pinia'
import { createApp } from 'vue'
import App from './App.vue'
import { installElement } from './element'
import { i18n } from './i18n'
import { router } from './router'
import './theme.css'
import { watchForUpgrades } from './upgrade'

const app = createApp(App)
app.use(createPinia()).use(i18n).use(router)
watchForUpgrades(router)
installElement(app)
app.mount('#app')
