/// <reference types="vite/client" />

interface ImportMetaEnv {
  /** The server build this page belongs to; "dev" when it was built by hand. */
  readonly VITE_BUILD: string
}
