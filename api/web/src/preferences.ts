/** What a person chose for this browser: language, theme, columns. */
import { defineStore } from 'pinia'
import { ref, watch } from 'vue'

export type Language = 'en' | 'zh'
export type Theme = 'light' | 'dark'

function recall<T extends string>(key: string, known: readonly T[], otherwise: T): T {
  try {
    const value = localStorage.getItem(key)
    return known.find((word) => word === value) ?? otherwise
  } catch {
    return otherwise
  }
}

function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Private windows may refuse; the choice then lasts as long as the page.
  }
}

export const usePreferences = defineStore('preferences', () => {
  const browser: Language = navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
  const system: Theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
  const language = ref(recall<Language>('knm.language', ['en', 'zh'], browser))
  const theme = ref(recall<Theme>('knm.theme', ['light', 'dark'], system))

  watch(language, (value) => remember('knm.language', value))
  watch(theme, (value) => remember('knm.theme', value))
  watch(theme, (value) => document.documentElement.classList.toggle('dark', value === 'dark'), { immediate: true })

  return { language, theme }
})
