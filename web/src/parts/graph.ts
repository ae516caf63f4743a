// Between the node table, litegraph's drawing and the API's flow: node types are made from /object_info, a graph becomes a flow
// and a flow a graph. The saved form of a graph is that of ComfyUI's editor.

import { LGraph, LGraphNode, LiteGraph } from "@comfyorg/litegraph";

import type { Flow, InputInfo, Json, NodeInfo } from "../api";
import { inputsOf } from "./inputs";

const VALUES = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"]);
const AFTER = "control_after_generate", AFTER_CHOICES = ["fixed", "increment", "decrement", "randomize"];
const MUTED = 2, BYPASSED = 4; // litegraph's node modes

export type FlowNode = LGraphNode & { info?: NodeInfo; shown?: HTMLImageElement; chooseFile?(node: FlowNode, widget: string): void };

function offered(info: InputInfo): string[] {
    return Array.isArray(info[0]) ? info[0] : ((info[1]?.options as string[] | undefined) ?? []);
}

function addValue(node: FlowNode, name: string, info: InputInfo): boolean {
    const o = info[1] ?? {}, type = Array.isArray(info[0]) ? "COMBO" : info[0];
    if (!VALUES.has(type) || o.forceInput) return false;
    const none = (): void => undefined;
    if (type === "COMBO") {
        const values = offered(info);
        node.addWidget("combo", name, (o.default as string) ?? values[0] ?? "", none, { values: () => offered(node.info?.input.required?.[name] ?? node.info?.input.optional?.[name] ?? info) } as object);
        if (o.image_upload) node.addWidget("button", "…", undefined, () => node.chooseFile?.(node, name), { socketless: true }).serialize = false;
    } else if (type === "BOOLEAN") node.addWidget("toggle", name, Boolean(o.default), none, {});
    else if (type === "STRING") node.addWidget(o.multiline ? "text" : "string", name, String(o.default ?? ""), none, { multiline: Boolean(o.multiline) });
    else {
        const whole = type === "INT", step = Number(o.step ?? (whole ? 1 : 0.1));
        node.addWidget("number", name, Number(o.default ?? o.min ?? 0), none, {
            min: Number(o.min ?? -Number.MAX_SAFE_INTEGER), max: Math.min(Number(o.max ?? Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER), step2: step,
            precision: whole ? 0 : Math.min(7, Math.max(0, Math.ceil(-Math.log10(step)))),
        });
    }
    if (o[AFTER]) node.addWidget("combo", AFTER, "randomize", none, { values: AFTER_CHOICES, socketless: true });
    return true;
}

/** Makes a litegraph type of every node of the table; again when the table is new. */
export function registerNodes(table: Record<string, NodeInfo>, chooseFile: (node: FlowNode, widget: string) => void): void {
    LiteGraph.use_uuids = false;
    for (const [name, info] of Object.entries(table)) {
        class Made extends LGraphNode {
            static override title = info.display_name || name;
            static desc = info.description;
            static category = info.category;
            constructor(title: string) {
                super(title || info.display_name || name, name);
                const node = this as unknown as FlowNode;
                node.info = table[name];
                node.chooseFile = chooseFile;
                node.serialize_widgets = true;
                for (const input of inputsOf(info)) {
                    const type = Array.isArray(input.info[0]) ? "COMBO" : input.info[0];
                    if (addValue(node, input.name, input.info)) node.addInput(input.name, type, { widget: { name: input.name } } as object);
                    else node.addInput(input.name, type);
                }
                info.output.forEach((type, i) => node.addOutput(info.output_name[i] || type, type));
                const size = node.computeSize();
                node.setSize([Math.max(size[0], 250), size[1]]);
            }
        }
        LiteGraph.registerNodeType(name, Made as unknown as typeof LGraphNode);
    }
}

/** What comes into an input, through nodes that are bypassed. */
function sourceOf(graph: LGraph, node: FlowNode, slot: number, depth = 0): [string, number] | undefined {
    const link = node.inputs[slot]?.link, found = link === null || link === undefined ? undefined : graph.getLink(link);
    const from = found && (graph.getNodeById(found.origin_id) as FlowNode | null);
    if (!from || from.mode === MUTED || depth > 100) return undefined;
    if (from.mode !== BYPASSED) return [String(from.id), found.origin_slot];
    const type = from.outputs[found.origin_slot]?.type, through = from.inputs.findIndex(i => i.type === type && i.link !== null && i.link !== undefined);
    return through < 0 ? undefined : sourceOf(graph, from, through, depth + 1);
}

/** The flow that a graph means. */
export function toFlow(graph: LGraph): Flow {
    const flow: Flow = {};
    for (const node of graph.nodes as FlowNode[]) {
        if (node.mode === MUTED || node.mode === BYPASSED || !node.info) continue;
        const inputs: Record<string, Json> = {};
        for (const widget of node.widgets ?? []) {
            if (widget.name === AFTER || widget.type === "button") continue;
            const value = widget.value as Json;
            inputs[widget.name] = Array.isArray(value) ? { __value__: value } : value;
        }
        node.inputs?.forEach((input, slot) => {
            const from = sourceOf(graph, node, slot);
            if (from) inputs[input.name] = from;
        });
        flow[String(node.id)] = { class_type: node.info.name, inputs, _meta: { title: node.title } };
    }
    return flow;
}

/** A graph of a flow that has no places: columns by how far a node is from the beginning. */
export function fromFlow(graph: LGraph, flow: Flow): string[] {
    const unknown: string[] = [], made = new Map<string, FlowNode>(), column = new Map<string, number>();
    const depth = (id: string, most = 500): number => {
        const known = column.get(id);
        if (known !== undefined || !most) return known ?? 0;
        column.set(id, 0); // a cycle ends here
        const before = Object.values(flow[id]?.inputs ?? {}).filter(v => Array.isArray(v) && v.length === 2 && flow[String(v[0])]);
        const d = before.length ? 1 + Math.max(...before.map(v => depth(String((v as Json[])[0]), most - 1))) : 0;
        column.set(id, d);
        return d;
    };
    graph.clear();
    const bottom: number[] = [];
    for (const [id, part] of Object.entries(flow)) {
        const node = LiteGraph.createNode(part.class_type) as FlowNode | null;
        if (!node) {
            unknown.push(part.class_type);
            continue;
        }
        if (/^\d+$/.test(id)) node.id = Number(id);
        if (part._meta?.title) node.title = part._meta.title;
        graph.add(node);
        made.set(id, node);
        for (const widget of node.widgets ?? []) {
            const value = part.inputs[widget.name];
            if (value !== undefined && !Array.isArray(value)) widget.value = value !== null && typeof value === "object" && "__value__" in value ? (value.__value__ as object) : (value as string);
            if (widget.name === AFTER) widget.value = "fixed";
        }
        const c = depth(id);
        node.pos = [c * 340 + 40, (bottom[c] ?? 40)];
        bottom[c] = node.pos[1] + node.size[1] + 60;
    }
    for (const [id, node] of made)
        for (const [name, value] of Object.entries(flow[id].inputs))
            if (Array.isArray(value) && value.length === 2) {
                const slot = node.inputs.findIndex(i => i.name === name);
                if (slot >= 0) made.get(String(value[0]))?.connect(Number(value[1]), node, slot);
            }
    return [...new Set(unknown)];
}

/** Seeds go on as their neighbours say, after a flow was queued. */
export function stepSeeds(graph: LGraph): void {
    for (const node of graph.nodes as FlowNode[])
        node.widgets?.forEach((widget, i) => {
            const seed = node.widgets?.[i - 1];
            if (widget.name !== AFTER || !seed) return;
            const now = Number(seed.value);
            seed.value = widget.value === "increment" ? now + 1 : widget.value === "decrement" ? Math.max(0, now - 1) : widget.value === "randomize" ? Math.floor(Math.random() * 2 ** 48) : now;
        });
}

/** Marks what the server found wrong, at the socket that caused it. */
export function markErrors(graph: LGraph, errors: Record<string, { errors: { extra_info?: { input_name?: string } }[] }>): void {
    for (const node of graph.nodes as FlowNode[]) {
        const found = errors[String(node.id)], names = new Set(found?.errors.map(e => e.extra_info?.input_name));
        node.has_errors = Boolean(found);
        for (const input of node.inputs ?? []) (input as { hasErrors?: boolean; color_on?: string; color_off?: string }).hasErrors = names.has(input.name);
    }
    graph.setDirtyCanvas(true, true);
}

/** Shows a picture below a node's widgets. */
export function showPicture(node: FlowNode, address: string): void {
    const image = new Image();
    image.onload = () => {
        const room = 220;
        if (!node.shown) node.setSize([node.size[0], node.size[1] + room]);
        node.shown = image;
        node.setDirtyCanvas(true, true);
    };
    image.src = address;
    node.onDrawForeground = pen => {
        if (!node.shown || node.collapsed) return;
        const top = node.computeSize()[1], room = node.size[1] - top - 8, wide = node.size[0] - 16;
        if (room < 20) return;
        const scale = Math.min(wide / node.shown.naturalWidth, room / node.shown.naturalHeight);
        const w = node.shown.naturalWidth * scale, height = node.shown.naturalHeight * scale;
        pen.drawImage(node.shown, 8 + (wide - w) / 2, top + 4, w, height);
    };
}
