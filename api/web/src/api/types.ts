/** The API's words under short names. */
import type { components } from './schema'

type Schemas = components['schemas']
export type Cluster = Schemas['ClusterView']
export type Counts = Schemas['CountsView']
export type Item = Schemas['ItemView']
export type ItemPage = Schemas['ItemPage']
export type Meta = Schemas['MetaView']
export type Node = Schemas['NodeView']
export type NodePage = Schemas['NodePage']
export type NodePreview = Schemas['NodePreview']
export type Preview = Schemas['PreviewView']
export type Role = Schemas['RoleName']
export type Submission = Schemas['Submission']
export type Taint = Schemas['TaintView']
export type Task = Schemas['TaskView']
export type User = Schemas['UserView']
export type NodeDetail = Schemas['NodeDetail']
