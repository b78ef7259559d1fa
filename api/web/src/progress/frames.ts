/** What the relay says and is told: relay/PROTOCOL.md, version 1. */
import type { Counts } from '@/api/types'

export type ItemStatus = 'pending' | 'running' | 'succeeded' | 'failed' | 'skipped' | 'cancelled'
export type TaskStatus = 'queued' | 'running' | 'paused' | 'completed' | 'failed' | 'cancelled'
export type Mode = 'live' | 'polling' | 'catching_up'

/** How far a task is, as every step says it. */
export interface Progress {
  status: TaskStatus
  current: number
  total: number
  percent: number
  counts: Counts
  error?: string | null
}

/** A task in snapshots and in the user's list. */
export interface TaskHead extends Progress {
  id: string
  user_id: string
  cluster: string
  action: string
  reason: string
  seq: number
  created_at: string
  started_at?: string | null
  completed_at?: string | null
  updated_at: string
}

export interface FrameItem {
  ordinal: number
  status: ItemStatus
  message?: string | null
}

export interface NamedItem extends FrameItem {
  node: string
}

export type Epoch = string | number

export interface SnapshotFrame {
  type: 'snapshot'
  task_id: string
  epoch: Epoch
  seq: number
  cursor: string
  page: number
  last: boolean
  task: TaskHead
  items: NamedItem[]
}

export interface StepFrame extends Progress {
  type: 'progress' | 'complete'
  task_id: string
  epoch: Epoch
  prev: number
  seq: number
  cursor: string
  published_us: number
  items: FrameItem[]
}

export type ServerFrame =
  | SnapshotFrame
  | StepFrame
  | { type: 'hello'; version: number; pod: string; release: string; epoch: Epoch; mode: Mode }
  | { type: 'tasks'; full: boolean; tasks: TaskHead[] }
  | { type: 'mode'; mode: Mode; since: string; reason?: string; poll_interval_ms?: number }
  | { type: 'resync'; epoch: Epoch; reason: string }
  | { type: 'error'; code: string; message: string; task_id?: string }
  | { type: 'goodbye'; reason: string; reconnect_after_ms: number }

export type ClientFrame =
  | { type: 'subscribe'; task_id: string; cursor?: string }
  | { type: 'unsubscribe'; task_id: string }
  | { type: 'watch_tasks' }

export const FINAL: ReadonlySet<TaskStatus> = new Set(['completed', 'failed', 'cancelled'])
