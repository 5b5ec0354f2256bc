import type { NextConfig } from 'next'

const config: NextConfig = {
  // Or the project around this folder is taken for the app's.
  turbopack: { root: import.meta.dirname },
  poweredByHeader: false,
  // The image that is put through the optimizer is tiny: it is not to be remembered from one run to the next.
  images: { minimumCacheTTL: 0 },
}

export default config
