import { connection } from 'next/server'
import { Suspense } from 'react'
import { passed } from '../gates'

interface Props {
  searchParams: Promise<{ gate?: string }>
}

/** A page whose second part is sent when the gate is opened. */
export default async function LatePage({ searchParams }: Props) {
  await connection()
  const { gate = '' } = await searchParams
  return (
    <>
      <h1>late</h1>
      <Suspense fallback={<p id="waiting">waiting</p>}>
        <Late gate={gate} />
      </Suspense>
    </>
  )
}

async function Late({ gate }: { gate: string }) {
  await passed(gate)
  return <p id="late">here at last</p>
}
