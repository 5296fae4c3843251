export const approved: URL
export const schema: URL
export function generate(document: URL | string): Promise<string>
