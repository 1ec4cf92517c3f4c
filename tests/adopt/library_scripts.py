"""Scripts of libraries as people write them; each prints what the records have to hold, and what its weights became."""

from __future__ import annotations

TRAINER = """
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

torch.set_num_threads(1)
torch.manual_seed(0)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, rows, seed):
        self.tokens = torch.randint(5, 50, (rows, 8), generator=torch.Generator().manual_seed(seed))
        self.labels = (self.tokens[:, 0] > 25).long()

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, row):
        return {"input_ids": self.tokens[row], "labels": self.labels[row]}


NAMES = {"loss": "loss", "lr": "learning_rate", "norm": "grad_norm"}


class Print(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **rest):
        if "loss" in logs:
            print("step", state.global_step, *(part for name in NAMES for part in (name, logs[NAMES[name]])))

    def on_evaluate(self, args, state, control, metrics=None, **rest):
        print("step", state.global_step, "val", metrics["eval_loss"], "accuracy", metrics["eval_accuracy"])


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


config = BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
)
arguments = TrainingArguments(
    output_dir="out", per_device_train_batch_size=8, gradient_accumulation_steps=2, num_train_epochs=2,
    logging_steps=1, eval_strategy="epoch", save_strategy="epoch", report_to="none", disable_tqdm=True, use_cpu=True,
)
trainer = Trainer(
    model=BertForSequenceClassification(config), args=arguments, train_dataset=Pairs(70, 1), eval_dataset=Pairs(40, 2),
    compute_metrics=accuracy, callbacks=[Print()],
)
trainer.train()
print("weights", sum(one.double().sum().item() for one in trainer.model.parameters()))
"""
"""HuggingFace's Trainer: 10 steps of two backward passes, the last of an epoch with one; two evaluations, two saves."""
