import { useQuery } from '@pinia/colada'
import { computed } from 'vue'
import { useRoute } from 'vue-router'
import { useListQuery } from '@/composables/useListQuery'
import { fetchRow, fetchRows } from './api'
import { filterOf, tabOf } from './filter'

/** The rows that the address asks for: tab, filter, page and the open row stand in it. */
export function useLogs() {
  const route = useRoute()
  const { change, only, page, beside } = useListQuery()
  const tab = computed(() => tabOf(route.query))
  const filter = computed(() => filterOf(route.query))
  const id = beside('row')

  const { data: rows, error, refetch } = useQuery({
    key: () => ['logs', tab.value, filter.value, page.value],
    query: () => fetchRows(tab.value, filter.value, page.value),
    placeholderData: (before) => (before?.tab === tab.value ? before : undefined),
  })
  const listed = computed(() => rows.value?.list.find((row) => row.id === id.value))
  // A link to a row that is on another page.
  const { data: one, error: lost } = useQuery({
    key: () => ['log', tab.value, id.value],
    query: () => fetchRow(tab.value, id.value),
    enabled: () => id.value !== '' && rows.value !== undefined && !listed.value,
  })
  const open = computed(() => (id.value ? (listed.value ?? one.value) : undefined))

  return { tab, filter, page, rows, id, open, error: computed(() => error.value ?? (id.value ? lost.value : null)), change, only, refetch }
}
