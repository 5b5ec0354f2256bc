/** How are kept terminals tested through a gateway? With a keeper and a ttyd whose shells a test plays, and pages of browsers. */
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { ADDRESS_SETTINGS } from '../../src/rules/services.ts'
import { signInPage } from './door.ts'
import { startTestGateway, token } from './gateway.ts'
import {
  CREDENTIAL,
  pageOn,
  firstMessage,
  tokenOf,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
  type TestClient,
} from './kept-terminals.ts'
import { basic } from './ttyd.ts'

/** The settings of a gateway whose terminal is this one. Every other service is at a ttyd, where nobody asks. */
export const settingsFor = (ttyd: { url: string }, keeper: { url: string }) => ({
  ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, ttyd.url])),
  GATEWAY_TERMINAL_URL: keeper.url,
})

/** Starts ttyd, its keeper and a gateway. */
export async function startKeptWorkspace(
  t: Test,
  settings: Record<string, string | undefined> = {},
  keeperSettings: Record<string, string> = {},
) {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd, keeperSettings)
  const gateway = await startTestGateway(t, {
    ...settingsFor(ttyd, keeper),
    GATEWAY_DRAIN_SECONDS: '0',
    ...settings,
  })
  return { ttyd, keeper, gateway, port: gateway.port }
}

/** Signs a browser in. @returns the header lines of its pages */
export async function browser(port: number, subject = 'alice'): Promise<string[]> {
  return signInPage(port, await token({ subject }))
}

/** Opens the terminal as ttyd's page in a browser does. Rejects when the handshake is refused. */
export function openPage(
  t: Test,
  port: number,
  headers: readonly string[],
  {
    tab = TAB,
    credential = CREDENTIAL,
    token: said = tokenOf(credential === '' ? CREDENTIAL : credential),
  }: { tab?: string; credential?: string; token?: string } = {},
): Promise<TestClient> {
  const socket = new WebSocket(
    `ws://127.0.0.1:${port}/terminal/ws${tab === '' ? '' : `?tab=${tab}`}`,
    'tty',
    {
      headers: {
        Host: 'houston.hubify.com',
        ...(credential === '' ? {} : { Authorization: basic(credential) }),
        ...Object.fromEntries(headers.map((line) => splitLine(line))),
      },
      perMessageDeflate: false,
    },
  )
  return pageOn(t, socket, firstMessage({ token: said }))
}

function splitLine(line: string): [string, string] {
  const colon = line.indexOf(':')
  return [line.slice(0, colon), line.slice(colon + 1).trim()]
}
