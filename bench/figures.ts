/** Which figures are in the table, and which have targets? Those in FIGURES, in the table's order. */
import type { PeerName } from './peers/peer.ts'

/** A target for the gateway. */
export interface Aim {
  /** The peer by whose figure the gateway's is divided. Without it, the target is for the figure itself. */
  readonly than?: PeerName
  readonly is: 'at most' | 'at least' | 'below'
  readonly value: number
}

/** A row of the table. */
export interface Figure {
  /** The name of the figure, and its unit. */
  readonly label: string
  /** Digits after the decimal point. */
  readonly digits: number
  readonly aims?: readonly Aim[]
  /** The peer that the targets are for; the gateway if undefined. */
  readonly of?: PeerName
}

/** The target of refusals, compared with a server that refuses everybody without a look. */
const CHEAP: readonly Aim[] = [{ than: 'refuser', is: 'at most', value: 2 }]

/** The target of the scrubber, for each text. */
const FAST_SCRUB: readonly Aim[] = [{ is: 'at least', value: 200 }]

export const FIGURES = {
  rate: {
    label: 'proxied requests/s on one core',
    digits: 0,
    aims: [{ than: 'nginx-auth', is: 'at least', value: 1.5 }],
  },
  cpu: {
    label: 'CPU µs per proxied request',
    digits: 1,
    aims: [
      { than: 'nginx', is: 'at most', value: 2 },
      { than: 'nginx-auth', is: 'at most', value: 0.4 },
      { than: 'caddy', is: 'at most', value: 0.45 },
      { than: 'caddy-auth', is: 'at most', value: 0.15 },
      { than: 'bare', is: 'at most', value: 1 },
    ],
  },
  'cold-cpu': { label: 'CPU µs each in the first 3 s after its start', digits: 1 },
  'cold-times': {
    label: '– times its warm cost',
    digits: 2,
    aims: [{ is: 'at most', value: 1.2 }],
  },
  busy: { label: 'its core busy meanwhile, %', digits: 0 },
  p50: { label: 'p50 at 200 requests/s, ms', digits: 2 },
  'p50-added': {
    label: 'p50 added to direct, ms',
    digits: 2,
    aims: [{ than: 'nginx-auth', is: 'below', value: 1 }],
  },
  p99: { label: 'p99 at 200 requests/s, ms', digits: 2 },
  'p99-added': { label: 'p99 added to direct, ms', digits: 2 },
  'flood-rate': { label: 'flood of refused requests, a second', digits: 0 },
  'flood-cpu': { label: '– CPU µs', digits: 1 },
  'flood-p50': { label: 'p50 of a user under the flood, ms', digits: 2 },
  'flood-p99': {
    label: 'p99 of a user under the flood, ms',
    digits: 2,
    aims: [{ is: 'below', value: 20 }],
  },
  '401-rate': { label: '401 without a token, requests/s', digits: 0 },
  '401-times': { label: '– times its own proxied rate', digits: 2 },
  '401-cpu': { label: '– CPU µs', digits: 1, aims: CHEAP },
  'forged-rate': { label: '401 with a forged token, requests/s', digits: 0 },
  'forged-times': { label: '– times its own proxied rate', digits: 2 },
  'forged-cpu': {
    label: '– CPU µs',
    digits: 1,
    aims: [{ than: 'refuser', is: 'at most', value: 3 }],
  },
  '403-rate': { label: '403 for a secret file, requests/s', digits: 0 },
  '403-times': { label: '– times its own proxied rate', digits: 2 },
  '403-cpu': { label: '– CPU µs', digits: 1, aims: CHEAP },
  '429-rate': { label: '429, requests/s', digits: 0 },
  '429-times': { label: '– times its own proxied rate', digits: 2 },
  '429-cpu': { label: '– CPU µs', digits: 1, aims: CHEAP },
  'down-rate': {
    label: '100 MB download, MB/s',
    digits: 0,
    aims: [{ than: 'nginx', is: 'at least', value: 0.8 }],
  },
  'down-cpu': { label: '– CPU ms per 100 MB', digits: 0 },
  'down-growth': { label: '– memory grows by, MiB', digits: 1, aims: [{ is: 'below', value: 32 }] },
  'up-rate': {
    label: '100 MB upload, MB/s',
    digits: 0,
    aims: [{ than: 'nginx', is: 'at least', value: 0.8 }],
  },
  'up-cpu': { label: '– CPU ms per 100 MB', digits: 0 },
  'up-growth': { label: '– memory grows by, MiB', digits: 1, aims: [{ is: 'below', value: 32 }] },
  echo: { label: 'WebSocket echo, p50 in ms', digits: 3 },
  'echo-added': {
    label: 'WebSocket echo added to direct, ms',
    digits: 3,
    aims: [{ is: 'below', value: 0.3 }],
  },
  'bulk-rate': {
    label: 'WebSocket bulk, MB/s',
    digits: 0,
    aims: [{ than: 'nginx', is: 'at least', value: 0.7 }],
  },
  'bulk-cpu': { label: '– CPU ms per 100 MB', digits: 0 },
  sockets: {
    label: 'the first 1,000 idle WebSockets, MiB',
    digits: 1,
    aims: [{ is: 'below', value: 30 }],
  },
  'socket-pair': {
    label: 'each of the next 1,000, KiB',
    digits: 1,
    aims: [{ is: 'below', value: 16 }],
  },
  start: { label: 'exec to first 200, ms', digits: 0, aims: [{ is: 'below', value: 120 }] },
  idle: { label: 'memory at rest, MiB', digits: 1, aims: [{ is: 'at most', value: 60 }] },
  key: { label: 'terminal, a keystroke there and back, p50 in ms', digits: 3 },
  'key-added': {
    label: '– added by the keeper, ms',
    digits: 3,
    aims: [{ is: 'at most', value: 0.15 }],
    of: 'kept',
  },
  'output-rate': {
    label: 'terminal, endless output, MB/s',
    digits: 1,
    aims: [{ than: 'ttyd', is: 'at least', value: 0.6 }],
    of: 'kept',
  },
  'output-cpu': { label: '– CPU ms per 100 MB', digits: 0 },
  'keeper-idle': {
    label: 'keeper of terminals at rest, MiB',
    digits: 1,
    aims: [{ is: 'below', value: 45 }],
    of: 'kept',
  },
  'keeper-own': { label: '– not shared with the gateway, MiB', digits: 1 },
  attached: {
    label: 'an attached terminal that printed nothing, KiB',
    digits: 1,
    aims: [{ is: 'at most', value: 40 }],
    of: 'kept',
  },
  parked: {
    label: 'a parked terminal with 1,000 lines of 78 characters, KiB',
    digits: 0,
    aims: [{ is: 'at most', value: 4096 }],
    of: 'kept',
  },
  'vault-p50': { label: 'with a credential of the vault, p50 at 200 requests/s, ms', digits: 2 },
  'vault-added': {
    label: '– added by the vault, ms',
    digits: 2,
    aims: [{ is: 'at most', value: 0.5 }],
    of: 'vault',
  },
  'vault-disk': {
    label: '– one row and its fdatasync on that disk, p50 in ms',
    digits: 2,
  },
  'vault-cpu': { label: '– CPU µs', digits: 0 },
  'vault-down': { label: '– 100 MB download, MB/s', digits: 0 },
  'scrub-json': { label: 'scrubber, JSON, MB/s', digits: 0, aims: FAST_SCRUB, of: 'vault' },
  'scrub-base64': { label: 'scrubber, base64, MB/s', digits: 0, aims: FAST_SCRUB, of: 'vault' },
  'scrub-worst': {
    label: 'scrubber, the worst text, MB/s',
    digits: 0,
    aims: FAST_SCRUB,
    of: 'vault',
  },
  'room-echo': { label: 'relay, a message there and back, p50 in ms', digits: 3 },
  'room-added': {
    label: '– added to each message, ms',
    digits: 3,
    aims: [{ is: 'at most', value: 1 }],
    of: 'relay',
  },
  'room-rate': {
    label: 'relay, messages of 64 KiB in one room, MB/s',
    digits: 0,
    aims: [{ is: 'at least', value: 200 }],
    of: 'relay',
  },
  'room-cpu': { label: '– CPU ms per 100 MB', digits: 0 },
  'relay-idle': { label: 'relay at rest, MiB', digits: 1 },
  'room-memory': { label: 'an idle room, of 4,000, KiB', digits: 1 },
  'rooms-memory': {
    label: '– 10,000 of them and the relay, MiB',
    digits: 0,
    aims: [{ is: 'below', value: 400 }],
    of: 'relay',
  },
  allow: { label: 'limits, allowed, new users, 1 connection, a second', digits: 0 },
  'allow-p50': { label: '– p50, ms', digits: 2 },
  'allow-p99': { label: '– p99, ms', digits: 2 },
  allows: { label: 'limits, allowed, new users, 32 connections, a second', digits: 0 },
  'allows-p50': { label: '– p50, ms', digits: 2 },
  'allows-p99': { label: '– p99, ms', digits: 2 },
  'allows-cpu': { label: '– CPU µs', digits: 0 },
  refuse: { label: 'limits, refused, one user, 1 connection, a second', digits: 0 },
  'refuse-p50': { label: '– p50, ms', digits: 2 },
  'refuse-p99': { label: '– p99, ms', digits: 2 },
  refuses: { label: 'limits, refused, one user, 32 connections, a second', digits: 0 },
  'refuses-p50': { label: '– p50, ms', digits: 2 },
  'refuses-p99': { label: '– p99, ms', digits: 2 },
  'refuses-cpu': { label: '– CPU µs', digits: 0 },
} as const satisfies Record<string, Figure>

export type FigureName = keyof typeof FIGURES
