/**
 * Which methods does an address of the gateway take? The others are answered 405, with those that it takes in `Allow`. The router
 * does not know them address by address, because it keeps a tree for each method, and those trees would take 13 ms of
 * each start and 4 MiB: a request with such a method is sent to one address for them all.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import { METHODS } from '../src/http/methods.ts'

/**
 * The paths of the two routes that answer 405: for public addresses, and for those that need a sign-in. No request can name them,
 * because the target of a request that is not the gateway's is replaced by the path of its service.
 */
const WRONG_METHOD = { public: '/wrong-method', own: '/wrong-method/own' } as const

interface OwnAddress {
  readonly allowed: readonly string[]
  readonly isPublic: boolean
}

/** The addresses of the gateway, with the methods that each takes. */
export class OwnAddresses {
  readonly #exact = new Map<string, OwnAddress>()
  readonly #patterns: Array<OwnAddress & { readonly pattern: RegExp }> = []

  /** @param url as the router takes it: `:name` stands for a segment */
  add(url: string, allowed: readonly string[], isPublic: boolean): void {
    const address = { allowed, isPublic }
    if (!url.includes(':')) {
      this.#exact.set(url, address)
      return
    }
    const pattern = new RegExp(`^${url.replaceAll(/:\w+/g, '[^/]+')}$`)
    this.#patterns.push({ ...address, pattern })
  }

  /** The address of a path; undefined when it is none. What has a name of its own is no value of a `:name`. */
  find(path: string): OwnAddress | undefined {
    const plain = path.includes('%') ? decodeURI(path) : path // as the router does
    return this.#exact.get(plain) ?? this.#patterns.find(({ pattern }) => pattern.test(plain))
  }

  /** Adds the addresses to Fastify's `rewriteUrl`. */
  routing(route: (raw: IncomingMessage) => string): (raw: IncomingMessage) => string {
    return (raw) => {
      const path = route(raw)
      if (raw.target === undefined || 'reason' in raw.target || raw.target.route !== 'gateway')
        return path
      const address = this.find(path)
      if (address === undefined || address.allowed.includes(raw.method ?? '')) return path
      return address.isPublic ? WRONG_METHOD.public : WRONG_METHOD.own
    }
  }
}

/** Where the routes of a server say which methods they take. */
const ADDRESSES = new WeakMap<Server, OwnAddresses>()

/**
 * Answers 405 to every method that an address does not have.
 * @param isPublic whether those who are not signed in get that answer too
 */
export function refuseOtherMethods(
  app: FastifyInstance,
  url: string,
  allowed: readonly string[],
  isPublic = true,
): void {
  ADDRESSES.get(app.server)?.add(url, allowed, isPublic)
}

/** The routes that answer 405. They come before those that say which methods they take. */
export default async function otherMethods(
  app: FastifyInstance,
  { ownAddresses }: { readonly ownAddresses: OwnAddresses },
): Promise<void> {
  ADDRESSES.set(app.server, ownAddresses)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null) // the answer is the same, whatever the body
  })
  for (const [whose, url] of Object.entries(WRONG_METHOD))
    app.route({
      url,
      method: [...METHODS],
      config: { public: whose === 'public' },
      handler({ exchange }) {
        const allowed = ownAddresses.find(exchange.target?.path ?? '')?.allowed ?? []
        throw new GatewayError('method-not-allowed', { headers: { Allow: allowed.join(', ') } })
      },
    })
}
