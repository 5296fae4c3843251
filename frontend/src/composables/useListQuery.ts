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

  /** Nothing but these; an empty text is none. */
  function only(values: Record<string, unknown>) {
    if (route.name === name) void router.replace({ query: Object.fromEntries(Object.entries(values).filter(([, value]) => typeof value === 'string' && value)) as Record<string, string> })
  }

  const set = (values: Record<string, string>) => only({ ...route.query, ...values })
  /** Several filters at once; another page than the first would be one of another list. */
  const change = (values: Record<string, string>) => set({ ...values, page: '' })
  /** One of them. */
  const filter = (key: string) => computed({ get: () => read(key), set: (value: string | null) => change({ [key]: value ?? '' }) })
  const page = computed({ get: () => Math.max(1, Math.floor(Number(read('page'))) || 1), set: (value: number) => set({ page: value > 1 ? String(value) : '' }) })
  const sort = computed({ get: () => read('sort') || defaultSort, set: (value: string) => change({ sort: value === defaultSort ? '' : value }) })
  /** Something to show beside the list, such as a drawer: it changes neither list nor page. */
  const beside = (key: string) => computed({ get: () => read(key), set: (value: string) => set({ [key]: value }) })

  return { filter, change, only, page, sort, beside }
}
