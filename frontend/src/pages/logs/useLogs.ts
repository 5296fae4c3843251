import { computed, shallowRef, watch } from 'vue'
import { type LocationQueryRaw, useRoute, useRouter } from 'vue-router'
import { fetchRow, fetchRows, type Row, type Rows } from './api'
import { type Filter, filterOf, tabOf } from './filter'

/** The rows that the address asks for: tab, filter, page and the open row stand in it, so that a link shows what its sender saw. */
export function useLogs() {
  const route = useRoute()
  const router = useRouter()
  const name = route.name
  const rows = shallowRef<Rows>()
  const open = shallowRef<Row>()
  const error = shallowRef<unknown>(null)
  let asked = 0

  const tab = computed(() => tabOf(route.query))
  const filter = computed(() => filterOf(route.query))
  const page = computed(() => Math.max(1, Math.floor(Number(route.query.page)) || 1))
  const id = computed(() => (typeof route.query.row === 'string' ? route.query.row : ''))

  /** Empty values leave the address; a changed filter begins at its first page. */
  function go(change: Partial<Filter> & { tab?: string; page?: string; row?: string }) {
    const query: LocationQueryRaw = { ...(change.tab ? {} : route.query), ...('row' in change || 'page' in change ? {} : { page: '' }), ...change }
    void router.push({ query: Object.fromEntries(Object.entries(query).filter(([, value]) => value)) })
  }

  async function refresh() {
    const mine = ++asked
    try {
      const answer = await fetchRows(tab.value, filter.value, page.value)
      if (mine !== asked) return
      rows.value = answer
      error.value = null
    } catch (cause) {
      if (mine === asked) error.value = cause
    }
  }

  const wish = computed(() => JSON.stringify([tab.value, filter.value, page.value]))
  watch(tab, () => (rows.value = undefined))
  watch(wish, () => route.name === name && void refresh(), { immediate: true })
  watch([id, tab], async () => {
    open.value = id.value ? rows.value?.list.find((row) => row.id === id.value) : undefined
    if (!id.value || open.value || route.name !== name) return
    const wanted = id.value
    try {
      const row = await fetchRow(tab.value, wanted)
      if (wanted === id.value) open.value = row
    } catch (cause) {
      error.value = cause
    }
  }, { immediate: true })

  return { tab, filter, page, rows, open, error, go, refresh }
}
