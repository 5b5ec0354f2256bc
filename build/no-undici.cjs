/** What is in the bundle instead of undici? An object that throws when any part of undici is used (build/bundle.ts says why). */
module.exports = new Proxy(
  {},
  {
    get(_, name) {
      throw new Error(`undici is not in this bundle, but its ${String(name)} was used`)
    },
  },
)
