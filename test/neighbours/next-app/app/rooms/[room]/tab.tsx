'use client'
import { useSearchParams } from 'next/navigation'

export function Tab() {
  return <p id="tab">tab {useSearchParams().get('tab') ?? 'none'}</p>
}
