/** What the relay says and is told, under short names: relay/PROTOCOL.md, version 1. */
import type { components } from './protocol'

type Schemas = components['schemas']
export type ItemStatus = Schemas['ItemStatus']
export type TaskStatus = Schemas['TaskStatus']
export type Mode = Schemas['ModeKind']
export type Epoch = Schemas['Epoch']

/** A task in snapshots and in the user's list. */
export type TaskHead = Schemas['Head']
/** How far a task is, as every step says it. */
export type Progress = Pick<Schemas['StepBody'], 'status' | 'current' | 'total' | 'percent' | 'counts' | 'error'>
export type FrameItem = Schemas['ItemUpdate']
export type NamedItem = Schemas['ItemRow']

export type ServerFrame = Schemas['ServerMessage']
export type SnapshotFrame = Extract<ServerFrame, { type: 'snapshot' }>
export type StepFrame = Extract<ServerFrame, { type: 'progress' | 'complete' }>
export type ClientFrame = Schemas['ClientMessage']

export const FINAL: ReadonlySet<TaskStatus> = new Set(['completed', 'failed', 'cancelled'])
