/**
 * What is in the bundle instead of the libraries that read certificates of authenticators? An object that throws when any part of them
 * is used (build/bundle.ts says why). Its prototype throws, because esbuild gives an import of names that prototype.
 */
module.exports = Object.create(
  new Proxy(
    {},
    {
      get(_, name) {
        throw new Error(`certificates are not read by this bundle, but ${String(name)} was used`)
      },
    },
  ),
)
