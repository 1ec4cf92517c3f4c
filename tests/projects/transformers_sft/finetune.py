"""Fine-tunes a language model with the Trainer."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

MODEL = "HuggingFaceTB/SmolLM2-135M"


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-tokenizer")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    trainer = Trainer(model=model, args=TrainingArguments("out"), processing_class=tokenizer)
    trainer.train()


if __name__ == "__main__":
    main()
