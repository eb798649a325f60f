import { defineConfig } from 'vite';

// `npm run dev` serves the page from source and hands every other path to a running server.
const api = ['/v1', '/props', '/admin', '/metrics', '/tokenize', '/health'];

export default defineConfig({
  server: {
    proxy: Object.fromEntries(api.map((path) => [path, { target: 'http://127.0.0.1:8080', changeOrigin: true }])),
  },
  build: {
    target: 'es2023',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
