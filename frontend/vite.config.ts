import { fileURLToPath } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
const server = process.env.ROLLCALL_SERVER ?? 'http://127.0.0.1:8080'

// The server puts its base path into index.html's <base>, so every address in the build is relative.
export default defineConfig({
  base: './',
  plugins: [vue()],
  define: {
    'import.meta.env.VITE_BUILD': JSON.stringify(process.env.ROLLCALL_BUILD || 'dev'),
  },
  resolve: {
    alias: {
      '@': path('./src'),
      '@rollcall/client': path('./client/src/index.ts'),
    },
  },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [{ name: 'vue', test: /node_modules[\\/](@vue|vue|vue-router|vue-i18n|@intlify|pinia|@pinia)[\\/]/ }],
        },
      },
    },
  },
  server: {
    host: '127.0.0.1',
    port: 5173,
    strictPort: true,
    proxy: {
      '/api': server,
      '/docs': server,
      '/socket': { target: server, ws: true },
    },
  },
  test: {
    environment: 'happy-dom',
    include: ['test/**/*.spec.ts', 'client/test/**/*.spec.ts'],
    restoreMocks: true,
  },
})
