/** Where does a service's redirect lead? Its own address is nobody's outside: it becomes a path of ours. */

/**
 * Builds the rewriting of `Location` for a service: an absolute one that names the service's own address becomes a path of
 * ours (Next.js answers `http://localhost:3001/logs` whatever `Host` says), and a stripped prefix is put back.
 * @param port the service's TCP port, or undefined for a Unix socket
 * @param hosts the names under which the service may know itself, lower case
 * @param stripped the prefix that was taken off (`/api`), or an empty string
 */
export function buildLocationRewriter(
  hosts: readonly string[],
  port: string | undefined,
  stripped: string,
): (location: string) => string {
  return (location) => {
    // A browser leaves these out before it reads a URL: `http://localhost:3001/<tab>/evil.example` must not get through.
    const text = location.replace(/[\t\n\r]/g, '')
    const own = ownPath(text, hosts, port)
    if (own === undefined)
      return stripped !== '' && /^\/(?!\/)/.test(text) ? stripped + text : location
    if (stripped !== '') return stripped + own
    // The service's own `http://localhost:3001//evil.example` must not become a host on our side.
    return /^\/[/\\]/.test(own) ? `/.${own}` : own
  }
}

/** The path, query and fragment of an absolute URL of the service's own; undefined for anything else. */
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

// https://html.spec.whatwg.org/multipage/document-lifecycle.html#shared-declarative-refresh-steps: seconds, a separator, `url=`
// or nothing, and the address, in quotes or not. It matches every text, so it never goes back to try again.
const REFRESH =
  /^([\t\n\f\r ]*[0-9.]*[\t\n\f\r ]*[;,]?[\t\n\f\r ]*(?:url[\t\n\f\r ]*=[\t\n\f\r ]*)?)(["']?)(.*)$/is

/** Rewrites the address within `Refresh`, which browsers follow like a redirect; seconds alone stay. */
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
