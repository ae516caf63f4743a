// Flow: the node editor. Drop a flow, a PNG or a picture; undo; search; errors on the socket that caused them; progress on nodes.

import { LGraph, LGraphCanvas, LiteGraph } from "@comfyorg/litegraph";
import "@comfyorg/litegraph/style.css";

import { ApiError, choices, modelFacts, nodeTable, pictureAddress, post, queue, socket, upload, type Flow, type NodeError, type NodeInfo, type Picture } from "../api";
import { fill, h, kept, settle } from "../dom";
import { complain, go, say, type Hand } from "../parts/shell";
import { fromFlow, markErrors, registerNodes, showPicture, stepSeeds, toFlow, type FlowNode } from "../parts/graph";
import { flowOf, habitsOf, initial } from "../settings";
import { graphOf, toldBy } from "../told";
import { t } from "../words";

const UNDO_MOST = 60;
const saved = kept<object | null>("flow", null);

export function flowPage(root: HTMLElement): { show(hand?: Hand): void } {
    root.classList.add("wide");
    const canvas = h("canvas", { tabIndex: 0, "aria-label": t("flow") }), place = h("div", { className: "flow-canvas" }, canvas);
    const file = h("input", { type: "file", accept: ".json,image/*", hidden: true, onchange: () => { if (file.files?.[0]) void open(file.files[0]); file.value = ""; } });
    const find = h("input", { type: "search", placeholder: t("addNode"), "aria-label": t("addNode"), list: "node-names", onchange: () => add(find.value) });
    find.setAttribute("list", "node-names");
    const names = h("datalist", { id: "node-names" });
    const wrong = h("div", { className: "flow-errors", role: "alert" });
    const stop = h("button", { type: "button", hidden: true, onclick: () => post("/api/interrupt", running ? { prompt_id: running } : {}).catch(complain) }, t("stop"));
    fill(root,
        h("div", { className: "flow-bar" },
            h("button", { type: "button", className: "main", style: "flex:none", onclick: () => void run() }, t("run")), stop,
            h("button", { type: "button", onclick: () => void start() }, t("newFlow")),
            h("button", { type: "button", onclick: () => file.click() }, t("load")),
            h("button", { type: "button", onclick: save }, t("save")),
            h("button", { type: "button", onclick: () => undo(-1) }, t("undo")),
            h("button", { type: "button", onclick: () => undo(1) }, t("redo")),
            h("button", { type: "button", onclick: () => go("draw", { flow: toFlow(graph) }) }, t("draw")),
            h("span", { style: "flex:0 1 16rem" }, find), names, file),
        wrong, place);

    const graph = new LGraph(), view = new LGraphCanvas(canvas, graph);
    let table: Record<string, NodeInfo> = {}, running: string | undefined, waiting: Hand | undefined, ready = false;
    view.allow_searchbox = true;
    view.show_info = false;
    LiteGraph.release_link_on_empty_shows_menu = true;
    const fit = (): void => view.resize(place.clientWidth, place.clientHeight);
    new ResizeObserver(fit).observe(place);

    // --- undo: whole graphs, the one that is seen at `at` ---
    let past: string[] = [], at = -1, restoring = false;
    const note = settle(250, () => {
        if (restoring || !ready) return;
        const now = JSON.stringify(graph.serialize());
        if (now === past[at]) return;
        past = [...past.slice(Math.max(0, at + 2 - UNDO_MOST), at + 1), now];
        at = past.length - 1;
        saved.set(JSON.parse(now) as object);
    });
    graph.onAfterChange = note;
    graph.onConnectionChange = note;
    for (const event of ["pointerup", "keyup", "change"]) root.addEventListener(event, note, true);
    document.addEventListener("pointerup", () => !root.hidden && note());

    function undo(step: number): void {
        if (past[at + step] === undefined) return;
        at += step;
        restoring = true;
        graph.configure(JSON.parse(past[at]));
        restoring = false;
        graph.setDirtyCanvas(true, true);
    }
    root.addEventListener("keydown", e => {
        if ((e.ctrlKey || e.metaKey) && (e.key === "z" || e.key === "y") && !(e.target instanceof HTMLInputElement) && !(e.target instanceof HTMLTextAreaElement)) {
            e.preventDefault();
            undo(e.key === "y" || e.shiftKey ? 1 : -1);
        } else if ((e.ctrlKey || e.metaKey) && e.key === "Enter") void run();
    });

    // --- flows in and out ---
    function put(flow: Flow, workflow?: unknown): void {
        fill(wrong);
        if (workflow && typeof workflow === "object" && "nodes" in workflow) graph.configure(workflow as never);
        else {
            const unknown = fromFlow(graph, flow);
            if (unknown.length) say(`${t("failed")}: ${unknown.join(", ")}`, "bad");
        }
        centre();
        note();
    }

    function centre(): void {
        const boxes = graph.nodes.map(n => [n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
        if (!boxes.length) return;
        const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1])), right = Math.max(...boxes.map(b => b[2])), bottom = Math.max(...boxes.map(b => b[3]));
        const scale = Math.min(1, place.clientWidth / (right - left + 60), place.clientHeight / (bottom - top + 60)) || 1;
        view.ds.scale = scale;
        view.ds.offset = [(place.clientWidth / scale - right - left) / 2, (place.clientHeight / scale - bottom - top) / 2];
        graph.setDirtyCanvas(true, true);
    }

    /** The flow that Draw would make with the first model. */
    async function start(): Promise<void> {
        const sampler = choices(table, "KSampler", "sampler_name")[0] ?? "", schedule = choices(table, "KSampler", "scheduler")[0] ?? "";
        const model = choices(table, "CheckpointLoaderSimple", "ckpt_name")[0] ?? "", habits = (await modelFacts()).get(model);
        put(flowOf({ ...initial, words: t("wordsExample"), model, width: 512, height: 512, cfg: 7, sampler, schedule, ...(habits && habitsOf(habits)) }));
    }

    async function open(given: File): Promise<void> {
        try {
            if (given.type.startsWith("image/")) {
                const told = await toldBy(given), flow = graphOf(told);
                if (told.workflow || flow) return put(flow ?? {}, told.workflow && JSON.parse(told.workflow));
                const picture = await upload(given, given.name);
                const node = add("LoadImage");
                if (node) setFile(node, "image", picture);
                return;
            }
            const json = JSON.parse(await given.text()) as Flow;
            put(json, "nodes" in json ? json : undefined);
        } catch (e) {
            complain(e);
        }
    }

    function save(): void {
        const link = h("a", { href: URL.createObjectURL(new Blob([JSON.stringify(graph.serialize(), null, 1)], { type: "application/json" })), download: "flow.json" });
        link.click();
        URL.revokeObjectURL(link.href);
    }

    function add(name: string): FlowNode | undefined {
        const wanted = table[name] ? name : Object.values(table).find(n => n.display_name === name)?.name;
        const node = wanted ? (LiteGraph.createNode(wanted) as FlowNode | null) : null;
        find.value = "";
        if (!node) return undefined;
        node.pos = [-view.ds.offset[0] + place.clientWidth / view.ds.scale / 2 - 120, -view.ds.offset[1] + place.clientHeight / view.ds.scale / 3];
        graph.add(node);
        view.selectNode(node);
        note();
        return node;
    }

    function setFile(node: FlowNode, widget: string, p: Picture): void {
        const w = node.widgets?.find(x => x.name === widget);
        if (w) w.value = (p.subfolder ? `${p.subfolder}/` : "") + p.filename;
        showPicture(node, pictureAddress(p));
        note();
    }

    function chooseFile(node: FlowNode, widget: string): void {
        const input = h("input", { type: "file", accept: "image/*", onchange: () => input.files?.[0] && void upload(input.files[0], input.files[0].name).then(p => setFile(node, widget, p), complain) });
        input.click();
    }

    root.addEventListener("dragover", e => e.preventDefault());
    root.addEventListener("drop", e => {
        e.preventDefault();
        if (e.dataTransfer?.files[0]) void open(e.dataTransfer.files[0]);
    });

    // --- what is wrong: red at its socket, and in words that lead there ---
    function showErrors(errors: Record<string, NodeError>): void {
        markErrors(graph, errors);
        fill(wrong, Object.entries(errors).flatMap(([id, found]) => {
            const node = nodeOf(id), name = node?.title ?? found.class_type;
            const said = found.errors.length ? found.errors : [{ message: t("failed"), details: "", extra_info: undefined }];
            return said.map(x => h("button", { type: "button", className: "chip bad", onclick: () => {
                if (!node) return;
                view.selectNode(node);
                view.centerOnNode(node);
            } }, [name, x.extra_info?.input_name].filter(Boolean).join(" · "), `: ${[x.message, x.details].filter(Boolean).join(": ")}`));
        }));
    }

    // --- running ---
    async function run(): Promise<void> {
        showErrors({});
        try {
            const said = await queue(toFlow(graph), graph.serialize());
            running = said.prompt_id;
            stop.hidden = false;
            if (Object.keys(said.node_errors).length) showErrors(said.node_errors);
            stepSeeds(graph);
        } catch (e) {
            if (e instanceof ApiError) showErrors(e.nodes);
            complain(e);
        }
    }

    const nodeOf = (id: unknown): FlowNode | undefined => (graph.nodes as FlowNode[]).find(n => String(n.id) === String(id));
    socket.listen(m => {
        if (!running || m.data.prompt_id !== running) return;
        const d = m.data as Record<string, any>;
        if (m.type === "executing" || m.type === "execution_success") for (const n of graph.nodes as FlowNode[]) n.progress = undefined;
        if (m.type === "executing" && d.node !== null) {
            const node = nodeOf(d.display_node ?? d.node);
            if (node) node.progress = 0.02;
        } else if (m.type === "progress") {
            const node = nodeOf(d.node);
            if (node) node.progress = d.value / d.max;
        } else if (m.type === "executed") {
            const node = nodeOf(d.display_node ?? d.node), picture = d.output?.images?.[0] as Picture | undefined;
            if (node && picture) showPicture(node, pictureAddress(picture));
        } else if (m.type === "execution_error") {
            showErrors({ [d.node_id]: { class_type: d.node_type, errors: [{ type: d.exception_type, message: d.exception_message, details: "" }] } });
            say(`${d.node_type}: ${d.exception_message}`, "bad");
        }
        if (m.type === "execution_success" || m.type === "execution_error" || m.type === "execution_interrupted") stop.hidden = true;
        graph.setDirtyCanvas(true, true);
    });
    socket.watch((picture, about) => {
        const node = about.prompt_id === running ? nodeOf(about.node_id) : undefined;
        if (node) showPicture(node, URL.createObjectURL(picture));
    });

    const made = nodeTable(true).then(now => {
        table = now;
        registerNodes(table, chooseFile);
        fill(names, Object.values(table).map(n => h("option", { value: n.name }, n.display_name)));
        ready = true;
        fit();
        const before = saved.get();
        if (waiting?.flow) put(waiting.flow, waiting.workflow);
        else if (before) put({}, before);
        else void start();
        waiting = undefined;
    });
    made.catch(complain);
    return {
        show(hand) {
            if (!ready) waiting = hand;
            else if (hand?.flow) put(hand.flow, hand.workflow);
            requestAnimationFrame(fit);
        },
    };
}
