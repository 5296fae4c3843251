import { ref, shallowRef } from 'vue'
import { ApiError } from '@/api/client'

/** One request of a dialog at a time: `busy` while it is under way, and what became wrong with it. */
export function useSubmit(run: () => Promise<unknown>) {
  const busy = ref(false)
  const error = shallowRef<unknown>(null)

  async function submit() {
    if (busy.value) return
    busy.value = true
    error.value = null
    try {
      await run()
    } catch (cause) {
      error.value = cause
    } finally {
      busy.value = false
    }
  }

  /** What the server says of a field, with 422. */
  const problemOf = (field: string) => (error.value instanceof ApiError && error.value.problem.field === field ? error.value.message : undefined)
  /** What is wrong, unless it is said below one of these fields. */
  const others = (fields: readonly string[]) => (fields.some(problemOf) ? null : error.value)

  return { busy, error, submit, problemOf, others }
}
