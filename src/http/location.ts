/**
 * Where does a service's redirect lead? A redirect to the service's own address becomes a path on the gateway, because clients
 * cannot reach the service's address.
 */

/**
 * Builds the function that rewrites a service's `Location`. An absolute URL with the service's own address becomes a path
 * (Next.js sends `http://localhost:3001/logs` whatever `Host` it received), and a stripped prefix is added again.
 * @param port the service's TCP port, or undefined for a Unix socket
 * @param hosts the host names that the service may use for itself, in lower case
 * @param stripped the prefix that the gateway removed from the request (`/api`), or an empty string
 */
export function buildLocationRewriter(
  hosts: readonly string[],
  port: string | undefined,
  stripped: string,
): (location: string) => string {
  return (location) => {
    // Browsers remove these characters before they parse a URL, so `http://localhost:3001/<tab>/evil.example` would become
    // `//evil.example`.
    const text = location.replace(/[\t\n\r]/g, '')
    const own = ownPath(text, hosts, port)
    if (own === undefined)
      return stripped !== '' && /^\/(?!\/)/.test(text) ? stripped + text : location
    if (stripped !== '') return stripped + own
    // Without the dot, `http://localhost:3001//evil.example` would become `//evil.example`, which names another host.
    return /^\/[/\\]/.test(own) ? `/.${own}` : own
  }
}

/** The path, query and fragment of an absolute URL that names the service's own address; undefined for anything else. */
function ownPath(
  location: string,
  hosts: readonly string[],
  port: string | undefined,
): string | undefined {
  const match =
    /^(?:(https?):)?\/\/(\[[0-9a-f:.]*\]|[^/?#@:\\]*)(?::([0-9]+))?(?=$|[/?#])(.*)$/i.exec(location)
  if (match === null) return undefined
  const [, scheme = 'http', host = '', givenPort, rest = ''] = match
  const namedPort = givenPort ?? (scheme.toLowerCase() === 'https' ? '443' : '80')
  if (!hosts.includes(host.toLowerCase()) || namedPort !== port) return undefined
  return rest.startsWith('/') ? rest : `/${rest}`
}

// https://html.spec.whatwg.org/multipage/document-lifecycle.html#shared-declarative-refresh-steps: seconds, a separator, an
// optional `url=`, and the address with or without quotes. The expression matches every text, so it never backtracks.
const REFRESH =
  /^([\t\n\f\r ]*[0-9.]*[\t\n\f\r ]*[;,]?[\t\n\f\r ]*(?:url[\t\n\f\r ]*=[\t\n\f\r ]*)?)(["']?)(.*)$/is

/** Rewrites the address in `Refresh`, which browsers follow like a redirect. A value with only seconds is unchanged. */
export function rewriteRefresh(
  value: string,
  rewriteLocation: (location: string) => string,
): string {
  const [, beginning = '', quote = '', rest = ''] = REFRESH.exec(value) ?? []
  const end = quote === '' ? -1 : rest.indexOf(quote)
  const address = (end < 0 ? rest : rest.slice(0, end)).trim()
  const rewritten = rewriteLocation(address)
  if (rewritten === address) return value
  return beginning + quote + rewritten + (end < 0 ? '' : rest.slice(end))
}
