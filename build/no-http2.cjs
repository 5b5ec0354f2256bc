/** What is in the bundle instead of node:http2? The one number that @fastify/reply-from reads from it when it is loaded; all else throws. */
module.exports = new Proxy(
  { constants: { NGHTTP2_CANCEL: 8 } },
  {
    get(kept, name) {
      if (name in kept) return kept[name]
      throw new Error(`HTTP/2 is not in this bundle, but its ${String(name)} was used`)
    },
  },
)
