// "Copy as curl": the request behind a button, for a terminal. The token is a variable: a real one would end up in
// the clipboard, the shell's history and somebody's chat.

export interface CurlRequest {
  method: 'GET' | 'POST' | 'DELETE'
  /** Absolute URL. */
  url: string
  body?: unknown
}

export function toCurl({ method, url, body }: CurlRequest): string {
  const words = ['curl']
  if (method !== 'GET') words.push('-X', method)
  words.push(shellQuote(url), '-H', '"Authorization: Bearer $TOKEN"')
  if (body !== undefined) words.push('-H', shellQuote('Content-Type: application/json'), '--data-raw', shellQuote(JSON.stringify(body)))
  return words.join(' ')
}

/** One word for a POSIX shell: between single quotes nothing is special but the single quote itself. */
export function shellQuote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
