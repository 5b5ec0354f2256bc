/** What do the owner's commands and the gateway ask the link, and what does it answer? HTTP with JSON on LINK_OWNER_SOCKET, in these shapes. */

/** The paths of the owner's door. */
export const OWNER_PATHS = {
  status: '/v1/status',
  devices: '/v1/devices',
  offers: '/v1/offers',
  reset: '/v1/reset',
} as const

/** What `GET /v1/status` answers. Times are ISO 8601. */
export interface LinkStatus {
  /** The release of the program. */
  readonly version: string
  /** The relay, as configured. */
  readonly relay: string
  readonly isConnected: boolean
  /** Since when it is connected, or not; null before the first connection. */
  readonly since: string | null
  /** Why it is not connected, as a sentence; null while it is, and before the first attempt has failed. */
  readonly problem: string | null
  readonly target: 'gateway' | 'service'
  /** How many devices are listed, those included that wait. */
  readonly devices: number
  /** How many pairing links are open. */
  readonly offers: number
}

/** A device, as `GET /v1/devices` lists it, and as approve and rename answer. */
export interface DeviceView {
  /** 22 characters. */
  readonly id: string
  readonly name: string
  /** A page of a browser, or `workspace-gateway remote`. */
  readonly kind: 'page' | 'command'
  readonly state: 'approved' | 'waiting'
  /** The person whose session it gets; for one that waits, who made its pairing link. */
  readonly sub: string | null
  /** Six digits that the device shows too; null while it is not connected. */
  readonly code: string | null
  readonly pairedAt: string
  /** Null before its first channel has ended. */
  readonly lastSeenAt: string | null
  readonly isConnected: boolean
}

/** What `GET /v1/devices` answers. */
export interface DevicesAnswer {
  readonly devices: readonly DeviceView[]
}

/** What `POST /v1/offers` takes. */
export interface OfferQuestion {
  readonly sub: string
  /** Whether the device that uses it needs no approval. Default: false. */
  readonly isApproved?: boolean
}

/** What `POST /v1/offers` answers. The link is a secret until it is used. */
export interface OfferAnswer {
  /** 22 characters, with which `GET /v1/offers/<id>` asks what became of it. It is not secret. */
  readonly id: string
  readonly link: string
  readonly expiresAt: string
}

/** What `GET /v1/offers/<id>` answers. */
export interface OfferStatus {
  readonly id: string
  /** `burnt`: too many have failed to use it. `ended`: its time is over, or the link was reset. */
  readonly state: 'open' | 'used' | 'burnt' | 'ended'
  /** Who has used it; null while nobody has, and when that device was refused or is not listed any more. */
  readonly device: DeviceView | null
  /** Why the device that used it was refused, as it was told; else null. */
  readonly problem: string | null
}

/** What `DELETE /v1/devices/<id>` answers. */
export interface RevokedAnswer {
  readonly id: string
  readonly name: string
}
