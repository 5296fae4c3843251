import { computed } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/** Filters, order and page of a list, kept in the address, so that a link shows what its sender saw. The address is their only place. */
export function useListQuery(defaultSort = '') {
  const route = useRoute()
  const router = useRouter()
  const name = route.name

  function read(key: string): string {
    const value = route.query[key]
    return typeof value === 'string' ? value : ''
  }

  /** Sets several at once; an empty text takes one out. */
  function set(values: Record<string, string>) {
    if (route.name !== name) return
    const query: Record<string, string> = {}
    for (const [key, value] of Object.entries({ ...route.query, ...values })) if (typeof value === 'string' && value) query[key] = value
    void router.replace({ query })
  }

  /** One filter; another page than the first would be one of another list. */
  const filter = (key: string) => computed({ get: () => read(key), set: (value: string | null) => set({ [key]: value ?? '', page: '' }) })
  const page = computed({ get: () => Math.max(1, Math.floor(Number(read('page'))) || 1), set: (value: number) => set({ page: value > 1 ? String(value) : '' }) })
  const sort = computed({ get: () => read('sort') || defaultSort, set: (value: string) => set({ sort: value === defaultSort ? '' : value, page: '' }) })
  /** Something to show beside the list, such as a drawer: it changes neither list nor page. */
  const beside = (key: string) => computed({ get: () => read(key), set: (value: string) => set({ [key]: value }) })

  return { filter, page, sort, beside }
}
