import { computed, watch } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import { useOnlineStore } from '@/stores/online'
import { filterFromQuery, filterToQuery } from '@/stores/online/filter'

/** Keeps filter, page and the open client in the address, so that a link shows what its sender saw. */
export function useOnlineUrl() {
  const route = useRoute()
  const router = useRouter()
  const store = useOnlineStore()

  function read() {
    const filter = filterFromQuery(route.query)
    if (JSON.stringify(filter) !== JSON.stringify(store.filter)) store.filter = filter
    const page = Number(route.query.page)
    store.page = Number.isInteger(page) && page > 0 ? page : 1
  }

  const open = computed({
    get: () => (typeof route.query.client === 'string' ? route.query.client : ''),
    set: (id) => void router.push({ query: queryOf(id) }),
  })

  function queryOf(client: string) {
    return { ...filterToQuery(store.filter), ...(store.page > 1 && { page: String(store.page) }), ...(client && { client }) }
  }

  read()
  // Back and forward change the address first; typing changes the filter first and leaves no trail of letters.
  watch(() => route.query, () => route.name === name && read())
  watch(() => [store.filter, store.page], () => {
    const query = queryOf(open.value)
    if (route.name === name && JSON.stringify(query) !== JSON.stringify(route.query)) void router.replace({ query })
  }, { deep: true })
  const name = route.name

  return { open }
}
