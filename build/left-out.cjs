/**
 * What is in the bundle instead of the libraries that packages require and the gateway never uses? An object that throws when any part of
 * one is used (build/bundle.ts says why).
 */
module.exports = new Proxy(
  {},
  {
    get(_, name) {
      throw new Error(`a library that is not in this bundle was used: its ${String(name)}`)
    },
  },
)
