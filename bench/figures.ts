/** The rows of the table, and what is aimed at. */
import type { PeerName } from './peers/peer.ts'

/** What the gateway is to reach. */
export interface Aim {
  /** Whose figure the gateway's is divided by; the figure itself when not given. */
  readonly than?: PeerName
  readonly is: 'at most' | 'at least' | 'below'
  readonly value: number
}

/** A row. */
export interface Figure {
  /** What it is, and its unit. */
  readonly label: string
  /** Digits after the point. */
  readonly digits: number
  readonly aims?: readonly Aim[]
}

export const FIGURES = {
  rate: {
    label: 'proxied requests/s, one core',
    digits: 0,
    aims: [{ than: 'nginx-auth', is: 'at least', value: 1.5 }],
  },
  cpu: {
    label: 'CPU µs per proxied request',
    digits: 1,
    aims: [
      { than: 'nginx-auth', is: 'at most', value: 0.5 },
      { than: 'bare', is: 'at most', value: 1.4 },
    ],
  },
  busy: { label: 'its core busy, %', digits: 0 },
} as const satisfies Record<string, Figure>

export type FigureName = keyof typeof FIGURES
