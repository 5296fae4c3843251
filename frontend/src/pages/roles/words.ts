/** Words that somebody lacks of those that are to be given: nobody gives what they do not have. */
export function missing(words: readonly string[], own: readonly string[]): string[] {
  return words.filter((word) => !own.includes(word))
}
