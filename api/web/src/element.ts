/** The Element Plus components that are used, and nothing else of it. */
import type { App } from 'vue'
import {
  ElAutocomplete, ElButton, ElCheckbox, ElConfigProvider, ElDrawer, ElInput, ElInputNumber, ElOption, ElPopover,
  ElSelect, ElSwitch, ElTooltip,
} from 'element-plus'
import ElFocusTrap from 'element-plus/es/components/focus-trap/index'
import 'element-plus/theme-chalk/base.css'
import 'element-plus/theme-chalk/dark/css-vars.css'
import 'element-plus/theme-chalk/el-autocomplete.css'
import 'element-plus/theme-chalk/el-button.css'
import 'element-plus/theme-chalk/el-checkbox.css'
import 'element-plus/theme-chalk/el-drawer.css'
import 'element-plus/theme-chalk/el-input.css'
import 'element-plus/theme-chalk/el-input-number.css'
import 'element-plus/theme-chalk/el-option.css'
import 'element-plus/theme-chalk/el-overlay.css'
import 'element-plus/theme-chalk/el-popover.css'
import 'element-plus/theme-chalk/el-popper.css'
import 'element-plus/theme-chalk/el-scrollbar.css'
import 'element-plus/theme-chalk/el-select.css'
import 'element-plus/theme-chalk/el-select-dropdown.css'
import 'element-plus/theme-chalk/el-switch.css'
import 'element-plus/theme-chalk/el-tag.css'
import 'element-plus/theme-chalk/el-tooltip.css'

const used = [
  ElAutocomplete, ElButton, ElCheckbox, ElConfigProvider, ElDrawer, ElFocusTrap, ElInput, ElInputNumber, ElOption, ElPopover,
  ElSelect, ElSwitch, ElTooltip,
]

export function installElement(app: App): void {
  for (const component of used) app.component(component.name!, component)
}
