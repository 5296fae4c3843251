import { mount } from '@vue/test-utils'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { h } from 'vue'
import LiveTable from '../src/components/LiveTable.vue'

interface Item { id: string }

describe('the live table', () => {
  beforeEach(() => {
    vi.stubGlobal('ResizeObserver', class { observe() {} disconnect() {} })
    vi.spyOn(HTMLElement.prototype, 'clientHeight', 'get').mockReturnValue(760)
  })

  it('draws only the rows in sight and tells assistive technology how many there are', async () => {
    const table = render(10_000)
    await table.vm.$nextTick()
    const rows = table.findAll('.body [role=row]')
    expect(rows.length).toBeLessThan(30)
    expect(table.get('[role=table]').attributes('aria-rowcount')).toBe('10001')
    expect(rows[0]!.attributes('aria-rowindex')).toBe('2')
  })

  it('shows the rows that belong where one has scrolled to, and says that one is away from the top', async () => {
    const table = render(10_000)
    const scroller = table.get('.live')
    scroller.element.scrollTop = 9_000 * 40
    await scroller.trigger('scroll')
    expect(table.text()).toContain('row 9000')
    expect(table.text()).not.toContain('row 1 ')
    expect(table.emitted('hold')!.at(-1)).toEqual(['scrolled', true])
  })

  it('holds while the pointer is over the rows, not over the head', async () => {
    const table = render(5)
    await table.get('.head').trigger('pointerenter')
    expect(table.emitted('hold')).toBeUndefined()
    await table.get('.body').trigger('pointerenter')
    await table.get('.body').trigger('pointerleave')
    expect(table.emitted('hold')).toEqual([['pointer', true], ['pointer', false]])
  })

  it('moves with the arrows and opens with Enter', async () => {
    const table = render(50)
    const row = (n: number) => table.get<HTMLElement>(`[data-key="${n}"]`)
    row(0).element.focus()
    await row(0).trigger('keydown', { key: 'ArrowDown' })
    await table.vm.$nextTick()
    expect(document.activeElement).toBe(row(1).element)
    expect(row(1).attributes('tabindex')).toBe('0')
    await row(1).trigger('keydown', { key: 'Enter' })
    expect(table.emitted('open')).toEqual([[{ id: '1' }]])
    await row(1).trigger('keydown', { key: 'k' })
    expect((table.emitted('key')![0] as [KeyboardEvent, Item])[1]).toEqual({ id: '1' })
  })

  it('says which column sorts and in which direction', async () => {
    const table = render(3, '-name')
    expect(table.get('[role=columnheader]').attributes('aria-sort')).toBe('descending')
    await table.get('[role=columnheader] button').trigger('click')
    expect(table.emitted('sort')).toEqual([['name']])
  })
})

function render(n: number, sort = 'name') {
  const items: Item[] = Array.from({ length: n }, (_, i) => ({ id: String(i) }))
  return mount(LiveTable<Item, { key: string; title: string; width: string; sortable: boolean }>, {
    attachTo: document.body,
    props: { items, keyOf: (item: Item) => item.id, columns: [{ key: 'name', title: 'Name', width: '1fr', sortable: true }], sort, label: 'Rows', rowHeight: 40, minWidth: 0 },
    slots: { cell: ({ item }: { item: Item }) => h('span', `row ${item.id} `) },
  })
}
