// The inputs of a node, in the table's order.

import type { InputInfo, NodeInfo } from "../api";

export function inputsOf(info: NodeInfo): { name: string; info: InputInfo; optional: boolean }[] {
    const part = (kind: "required" | "optional"): { name: string; info: InputInfo; optional: boolean }[] => {
        const all = info.input[kind] ?? {}, order = info.input_order?.[kind] ?? Object.keys(all);
        return order.filter(n => all[n]).map(name => ({ name, info: all[name], optional: kind === "optional" }));
    };
    return [...part("required"), ...part("optional")];
}

const TYPED = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"]);

/** The nodes of a subject (a part of their category) that do something by themselves: all their inputs can be typed. */
export function toolsOf(table: Record<string, NodeInfo>, subject: string): NodeInfo[] {
    return Object.values(table).filter(n => n.output_node && n.category.split("/").includes(subject) &&
        inputsOf(n).every(i => i.optional || Array.isArray(i.info[0]) || (TYPED.has(i.info[0]) && !i.info[1]?.forceInput)));
}
