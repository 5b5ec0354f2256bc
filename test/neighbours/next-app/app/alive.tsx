'use client'
import { useEffect, useState } from 'react'

/** Marks the page when its scripts run. */
export function Alive() {
  const [isAlive, setAlive] = useState(false)
  useEffect(() => setAlive(true), [])
  return <p id="alive">{isAlive ? 'alive' : 'not yet'}</p>
}
