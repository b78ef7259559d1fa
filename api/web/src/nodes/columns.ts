export const COLUMNS = ['status', 'roles', 'taints', 'labels', 'version', 'ip', 'age'] as const
export type Column = (typeof COLUMNS)[number]

const WIDTHS: Record<Column, string> = {
  status: '196px', roles: '112px', taints: 'minmax(190px, 1fr)', labels: 'minmax(200px, 2fr)', version: '84px', ip: '112px', age: '52px',
}

/** The columns as a grid: the box and the name come first, always. */
export function template(columns: readonly Column[]): string {
  return ['32px', 'minmax(120px, 200px)', ...columns.map((column) => WIDTHS[column])].join(' ')
}

export function columnsFrom(text: unknown): Column[] {
  if (typeof text !== 'string') return [...COLUMNS]
  return COLUMNS.filter((column) => text.split(',').includes(column))
}
