import type { NextConfig } from 'next'

const config: NextConfig = {
  // Without this, Next.js would treat the project around this folder as the app's root.
  turbopack: { root: import.meta.dirname },
  poweredByHeader: false,
  // The optimizer must not cache the tiny image from one run to the next.
  images: { minimumCacheTTL: 0 },
}

export default config
